"""The wrappers for CI: well formed by what their hosts document, and what they run is run here."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
TEMPLATE = (ROOT / ".gitlab" / "gate.yml").read_text(encoding="utf-8")
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
PAGE, GATE_PAGE = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("ci.md", "gate.md"))

INSTALL, GATE = ACTION["runs"]["steps"]
HEADER, JOBS = yaml.safe_load_all(TEMPLATE)
JOB = JOBS["fer-bench-gate"]

# An option of `fer-bench gate` for an input, where it is not called the same.
OPTIONS = ("against baseline models sheets metrics min-effect budget-s inconclusive setup").split()

HOSTILE = """a b'"`touch hacked`$(touch hacked);touch hacked # *"""

# What a user has, in a repository of theirs.
NETWORK = """
from torch import nn

def build(num_classes=7):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))
"""

STUB = """#!/bin/sh
printf '%s\\0' "$@" >"$STUB_SAID"
for each; do case $each in --summary=*) [ -z "$STUB_SUMMARY" ] || echo "$STUB_SUMMARY" >>"${each#*=}" ;; esac; done
exit "${STUB_CODE:-0}"
"""


@pytest.fixture
def bench(tmp_path):
    """An empty folder to run in, with programs of our own before the system's."""
    for name in ("bin", "work", "home"):
        (tmp_path / name).mkdir()
    return tmp_path


def program(bench, name, text):
    path = bench / "bin" / name
    path.write_text(text)
    path.chmod(0o755)


def git(folder, *arguments):
    settings = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # of a hook's repository
    done = subprocess.run(
        ["git", *settings, *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder, **files):
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet")
    for name, text in files.items():
        (folder / name.replace("_py", ".py").replace("_yaml", ".yaml")).write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "change")
    return git(folder, "rev-parse", "HEAD")


def surroundings(bench, **more):
    """Give the environment of a job: nothing of the developer's but where programs lie."""
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    path = f"{bench / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "HOME": str(bench / "home"), "STUB_SAID": str(bench / "said")} | more


def said(bench):
    """Give the arguments that the stub was called with."""
    return (bench / "said").read_text().split("\0")[:-1]


# GitHub

# https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax
ACTION_KEYS = {"name", "author", "description", "inputs", "outputs", "runs", "branding"}
STEP_KEYS = {"run", "shell", "if", "name", "id", "env", "working-directory", "uses", "with", "continue-on-error"}


def test_the_action_has_only_keys_that_github_documents():
    assert set(ACTION) <= ACTION_KEYS
    assert {"name", "description", "runs"} <= set(ACTION)
    for about in ACTION["inputs"].values():
        assert set(about) <= {"description", "required", "default", "deprecationMessage"}
        assert isinstance(about["description"], str)
        assert isinstance(about.get("default", ""), str)
    for about in ACTION["outputs"].values():
        assert set(about) == {"description", "value"}
    assert set(ACTION["branding"]) == {"icon", "color"}
    assert set(ACTION["runs"]) == {"using", "steps"}
    assert ACTION["runs"]["using"] == "composite"
    for step in ACTION["runs"]["steps"]:
        assert set(step) <= STEP_KEYS
        assert step["shell"] == "bash"  # a composite's step has no default


def test_no_input_of_the_action_is_put_into_a_script():
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]


def test_each_input_of_the_action_is_passed_on_and_no_other():
    used = [name for step in ACTION["runs"]["steps"] for name in re.findall(r"inputs\.([\w-]+)", yaml.dump(step))]
    assert set(used) == set(ACTION["inputs"])


def evaluated(text, inputs):
    """Put inputs into an expression, as the runner does: an input that was not given and has no default is empty."""

    def value(found):
        return inputs.get(found[1], ACTION["inputs"][found[1]].get("default", ""))

    return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", value, text)


def github(bench, step, inputs, **more):
    """Run a step as a runner does, in the folder "work"; give how it ended."""
    environment = {name: evaluated(value, inputs) for name, value in step["env"].items()}
    given = {name: str(bench / name.lower()) for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
    given["GITHUB_ACTION_PATH"] = str(ROOT)
    (bench / "step.sh").write_text(step["run"])
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", bench / "step.sh"],
        cwd=bench / "work" / evaluated(step["working-directory"], inputs),
        env=surroundings(bench, **given, **more) | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def outputs(bench):
    return dict(line.split("=", 1) for line in (bench / "github_output").read_text().splitlines())


def test_inputs_that_were_not_given_are_no_arguments(bench):
    program(bench, "fer-bench", STUB)
    done = github(bench, GATE, {"against": "abc"})
    assert done.returncode == 0, done.stderr
    command, summary, *others = said(bench)
    assert command == "gate"
    assert summary.startswith("--summary=/")
    assert others == ["--against=abc"]


@pytest.mark.parametrize("name", [*OPTIONS, "junit", "json"])
def test_an_input_of_the_action_becomes_one_argument_whatever_it_holds(bench, name):
    program(bench, "fer-bench", STUB)
    assert github(bench, GATE, {name: HOSTILE}).returncode == 0
    assert said(bench)[2:] == [f"--{name}={HOSTILE}"]
    assert list((bench / "work").iterdir()) == []


def test_further_arguments_are_parted_at_blanks_and_not_run(bench):
    program(bench, "fer-bench", STUB)
    (bench / "work" / "a file").touch()
    assert github(bench, GATE, {"args": "--max-params 5M\n --max-macs=$(touch hacked) *"}).returncode == 0
    assert said(bench)[2:] == ["--max-params", "5M", "--max-macs=$(touch", "hacked)", "*"]
    assert [path.name for path in (bench / "work").iterdir()] == ["a file"]


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (0, "passed"),
        (1, "worse"),
        (2, "error"),
        (3, "error"),
        (4, "inconclusive"),
        (5, "incomparable"),
        (130, "error"),
    ],
)
def test_the_exit_code_of_the_gate_is_that_of_the_step_and_an_output(bench, code, verdict):
    program(bench, "fer-bench", STUB)
    (bench / "github_step_summary").write_text("before\n")
    done = github(bench, GATE, {"comment-file": "gate.md"}, STUB_CODE=str(code), STUB_SUMMARY="## said")
    assert done.returncode == code
    assert outputs(bench) == {"exit-code": str(code), "verdict": verdict}
    assert (bench / "github_step_summary").read_text() == "before\n## said\n"
    assert (bench / "work" / "gate.md").read_text() == "## said\n"


def test_a_gate_that_says_nothing_leaves_no_empty_comment(bench):
    program(bench, "fer-bench", STUB)
    assert github(bench, GATE, {"comment-file": "gate.md"}, STUB_CODE="3").returncode == 3
    assert "exit code 3" in (bench / "work" / "gate.md").read_text()
    assert "exit code 3" in (bench / "github_step_summary").read_text()


def test_a_machine_without_the_program_fails_the_step(bench):
    program(bench, "fer-bench", "#!/no/such/interpreter\n")
    assert github(bench, GATE, {}).returncode != 0
    assert outputs(bench)["verdict"] == "error"


def test_outputs_of_the_action_are_those_of_its_step(bench):
    program(bench, "fer-bench", STUB)
    github(bench, GATE, {})
    asked = {about["value"] for about in ACTION["outputs"].values()}
    assert asked == {f"${{{{ steps.{GATE['id']}.outputs.{name} }}}}" for name in outputs(bench)}


@pytest.mark.parametrize(
    ("inputs", "installed"), [({}, str(ROOT)), ({"install": HOSTILE}, HOSTILE), ({"install": "."}, ".")]
)
def test_pip_installs_what_was_asked_for_or_the_action_itself(bench, inputs, installed):
    program(bench, "python", STUB)
    assert github(bench, INSTALL, inputs).returncode == 0
    assert said(bench) == ["-m", "pip", "install", installed]
    assert list((bench / "work").iterdir()) == []


def test_what_the_action_installs_by_itself_is_this_package():
    assert (ROOT / "pyproject.toml").is_file()
    assert INSTALL["if"] == "${{ inputs.install != 'none' }}"


# GitLab

# https://docs.gitlab.com/ci/yaml/
JOB_KEYS = set(
    "after_script allow_failure artifacts before_script cache coverage dast_configuration dependencies environment "
    "extends hooks id_tokens identity image inherit interruptible manual_confirmation needs parallel release "
    "resource_group retry rules script secrets services stage tags timeout trigger variables when".split()
)
ARTIFACT_KEYS = {
    "access",
    "exclude",
    "expire_in",
    "expose_as",
    "name",
    "paths",
    "public",
    "reports",
    "untracked",
    "when",
}


def test_the_template_has_only_keys_that_gitlab_documents():
    assert set(HEADER) == {"spec"}
    assert set(HEADER["spec"]) == {"inputs"}
    for about in HEADER["spec"]["inputs"].values():
        assert set(about) <= {"default", "description", "options", "regex", "type"}
        assert isinstance(about.get("default", ""), str)
    assert list(JOBS) == ["fer-bench-gate"]
    assert set(JOB) <= JOB_KEYS
    assert set(JOB["artifacts"]) <= ARTIFACT_KEYS
    assert JOB["artifacts"]["when"] == "always"  # a gate that fails has the most to tell
    assert all(isinstance(value, str) for value in JOB["variables"].values())
    assert JOB["variables"]["GIT_DEPTH"] == "0"


def test_each_input_of_the_template_is_used_and_no_other():
    used = re.findall(r"\$\[\[ inputs\.([\w-]+) \]\]", TEMPLATE.partition("\n---\n")[2])
    assert set(used) == set(HEADER["spec"]["inputs"])


def test_no_input_of_the_template_is_put_into_a_script():
    assert "$[[" not in "\n".join(JOB["script"])


def test_both_wrappers_have_the_same_inputs_for_the_gate():
    own = {"comment-file", "junit", "json"}  # an artifact on GitLab
    assert set(ACTION["inputs"]) - own == set(HEADER["spec"]["inputs"]) - {"image", "stage"}


def interpolated(inputs):
    """Put inputs into the template's text before it is read, which is how GitLab does it."""
    body = TEMPLATE.partition("\n---\n")[2]
    about = HEADER["spec"]["inputs"]
    return yaml.safe_load(
        re.sub(
            r"\$\[\[ inputs\.([\w-]+) \]\]", lambda found: inputs.get(found[1], about[found[1]].get("default")), body
        )
    )["fer-bench-gate"]


def gitlab(bench, inputs, shell="sh", **more):
    """Run the job as a runner does, in the folder "work"; give how it ended."""
    job = interpolated({"install": "none", **inputs})
    known = {"CI_PROJECT_DIR": str(bench / "work"), "CI_MERGE_REQUEST_DIFF_BASE_SHA": "base0"}
    values = {}
    for name, value in job["variables"].items():  # a runner puts variables into variables
        values[name] = re.sub(r"\$(CI_\w+)", lambda found: known[found[1]], value)
    (bench / "job.sh").write_text("\n".join(job["script"]) + "\n")
    return subprocess.run(
        [shell, "-e", bench / "job.sh"],
        cwd=bench / "work",
        env=surroundings(bench, **known, **more) | values,
        capture_output=True,
        text=True,
        check=False,
    )


SHELLS = [shell for shell in ("sh", "bash") if shutil.which(shell)]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_merge_request_is_held_against_its_base(bench, shell):
    program(bench, "fer-bench", STUB)
    done = gitlab(bench, {}, shell)
    assert done.returncode == 0, done.stderr
    command, summary, junit, report, *others = said(bench)
    assert (command, others) == ("gate", ["--against=base0"])
    written = [argument.partition("=")[2] for argument in (summary, junit, report)]
    assert [argument.partition("=")[0] for argument in (summary, junit, report)] == ["--summary", "--junit", "--json"]
    # What the job keeps is what the gate writes.
    assert written[1] == str(bench / "work" / JOB["artifacts"]["reports"]["junit"])
    (pattern,) = JOB["artifacts"]["paths"]
    assert all(Path(path).parent == bench / "work" and Path(path).match(pattern) for path in written)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", OPTIONS)
def test_an_input_of_the_template_becomes_one_argument_whatever_it_holds(bench, name, shell):
    program(bench, "fer-bench", STUB)
    assert gitlab(bench, {"against": "", name: HOSTILE}, shell).returncode == 0
    assert said(bench)[4:] == [f"--{name}={HOSTILE}"]
    assert list((bench / "work").iterdir()) == []


@pytest.mark.parametrize("code", [0, 1, 3, 4, 5])
def test_the_exit_code_of_the_gate_is_that_of_the_job(bench, code):
    program(bench, "fer-bench", STUB)
    assert gitlab(bench, {}, STUB_CODE=str(code)).returncode == code


def test_the_job_runs_where_and_with_what_it_was_asked_to(bench):
    program(bench, "python", STUB.replace("STUB_SAID", "PYTHON_SAID"))
    (bench / "work" / "sub").mkdir()
    program(bench, "fer-bench", "#!/bin/sh\npwd\n" + STUB.partition("\n")[2])
    inputs = {"working-directory": "sub", "args": "--max-params 5M *", "install": HOSTILE}
    done = gitlab(bench, inputs, PYTHON_SAID=str(bench / "python_said"))
    assert done.stdout.strip() == str(bench / "work" / "sub")
    assert said(bench)[-3:] == ["--max-params", "5M", "*"]
    assert (bench / "python_said").read_text().split("\0")[:-1] == ["-m", "pip", "install", HOSTILE]


# pre-commit

# https://pre-commit.com/#creating-new-hooks
HOOK_KEYS = set(
    "id name entry language files exclude types types_or exclude_types always_run fail_fast verbose pass_filenames "
    "require_serial description language_version minimum_pre_commit_version args stages additional_dependencies".split()
)


def test_the_hook_has_only_keys_that_pre_commit_documents():
    assert set(HOOK) <= HOOK_KEYS
    assert {"id", "name", "entry", "language"} <= set(HOOK)
    assert HOOK["pass_filenames"] is False


def pre_commit(bench, *hook_lines, **more):
    """Run the hook in the folder "work" on all files, from a repository that has our hooks file only."""
    hooks = bench / "hooks"
    hooks.mkdir(exist_ok=True)
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    revision = commit(hooks)
    config = {"repos": [{"repo": str(hooks), "rev": revision, "hooks": [{"id": HOOK["id"], **dict(hook_lines)}]}]}
    commit(bench / "work", **{".pre-commit-config_yaml": yaml.safe_dump(config)})
    return subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", "--all-files", "--verbose", "--color=never"],
        cwd=bench / "work",
        env=surroundings(bench, PRE_COMMIT_HOME=str(bench / "cache"), **more),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("code", "told"), [(0, "Passed"), (1, "Failed")])
def test_the_hook_calls_the_gate_on_the_baseline(bench, code, told):
    program(bench, "fer-bench", STUB)
    commit(bench / "work", net_py=NETWORK)
    done = pre_commit(bench, STUB_CODE=str(code))
    assert done.returncode == code, done.stdout + done.stderr
    assert f"{told}\n- hook id: fer-bench-gate" in done.stdout
    assert said(bench) == ["gate", "--baseline", "fer-bench.json"]


def test_the_hooks_arguments_can_be_replaced(bench):
    program(bench, "fer-bench", STUB)
    commit(bench / "work", net_py=NETWORK)
    pre_commit(bench, ("args", ["counts.json", "--models", "net.py:build"]))
    assert said(bench) == ["gate", "--baseline", "counts.json", "--models", "net.py:build"]


def test_the_hook_is_passed_over_where_neither_code_nor_a_sheet_is_there(bench):
    program(bench, "fer-bench", STUB)
    commit(bench / "work", words="text")
    done = pre_commit(bench)
    assert done.returncode == 0
    assert not (bench / "said").exists()


# The documentation


def example(key):
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    (found,) = [block for block in map(yaml.safe_load, blocks) if key in block]
    return found


def test_the_workflow_of_the_page_runs_the_gate_and_comments(bench):
    workflow = example("jobs")
    assert set(workflow) <= {"name", True, "permissions", "jobs"}  # YAML reads "on" as true
    assert "pull_request_target" not in workflow[True]  # it would run a stranger's code with the owner's rights
    assert workflow["permissions"]["pull-requests"] == "write"
    (job,) = workflow["jobs"].values()
    checkout, python, gate, comment = job["steps"]
    assert checkout["uses"].startswith("actions/checkout@")
    assert checkout["with"]["fetch-depth"] == 0
    assert python["uses"].startswith("actions/setup-python@")
    assert re.fullmatch(r"OWNER/fer_bench@v[\d.]+", gate["uses"])
    assert set(gate["with"]) <= set(ACTION["inputs"])
    program(bench, "fer-bench", STUB)
    base = "${{ github.event.pull_request.base.sha }}"
    inputs = {name: value.replace(base, "base0") for name, value in gate["with"].items()}
    assert github(bench, GATE, inputs, STUB_CODE="1", STUB_SUMMARY="## said").returncode == 1
    assert (said(bench)[0], said(bench)[2:]) == ("gate", ["--against=base0", "--models=my_net.py:build"])
    program(bench, "gh", STUB)
    known = {name: f"the {name}" for name in comment["env"]}
    subprocess.run(["bash", "-ec", comment["run"]], cwd=bench / "work", env=surroundings(bench, **known), check=True)
    options = ["--edit-last", "--create-if-none", "--body-file", "gate.md"]
    assert said(bench) == ["pr", "comment", "the NUMBER", *options]
    assert (bench / "work" / "gate.md").read_text() == "## said\n"
    assert set(comment) <= STEP_KEYS
    assert comment["continue-on-error"] is True  # that a fork's token cannot write is no verdict


def test_the_include_of_the_page_runs_the_gate(bench):
    (include,) = example("include")["include"]
    assert set(include) == {"project", "ref", "file", "inputs"}
    assert (ROOT / include["file"].lstrip("/")).is_file()
    inputs = HEADER["spec"]["inputs"]
    assert set(include["inputs"]) <= set(inputs)
    assert {name for name, about in inputs.items() if "default" not in about} <= set(include["inputs"])
    program(bench, "fer-bench", STUB)
    program(bench, "python", STUB.replace("STUB_SAID", "PYTHON_SAID"))
    done = gitlab(bench, include["inputs"], PYTHON_SAID=str(bench / "python_said"))
    assert done.returncode == 0, done.stderr
    assert (said(bench)[0], said(bench)[4:]) == ("gate", ["--against=base0", "--models=my_net.py:build"])
    installed = (bench / "python_said").read_text().split("\0")[:-1]
    assert installed == ["-m", "pip", "install", f"git+https://gitlab.com/{include['project']}@{include['ref']}"]


def test_the_hook_of_the_page_runs_the_gate(bench):
    (repo,) = example("repos")["repos"]
    (hook,) = repo["hooks"]
    assert hook["id"] == HOOK["id"]
    assert set(hook) <= HOOK_KEYS
    program(bench, "fer-bench", STUB)
    commit(bench / "work", my_net_py=NETWORK)
    done = pre_commit(bench, *hook.items())
    assert done.returncode == 0, done.stdout + done.stderr
    assert said(bench) == ["gate", "--baseline", "fer-bench.json", "--models", "my_net.py:build"]


def test_the_page_has_every_exit_code():
    from fer_bench.gating.verdicts import EXIT_CODES

    told = {int(code) for code in re.findall(r"^\| (\d+) \|", GATE_PAGE, flags=re.MULTILINE)}
    assert told >= {*EXIT_CODES.values(), 2}


# With the real command


def gate(folder, environment, *arguments):
    return subprocess.run(
        ["fer-bench", "gate", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


REAL = f'#!/bin/sh\nexec "{sys.executable}" -m fer_bench.cli "$@"\n'


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    """The baseline of a user's network, as the page says to write it."""
    bench = tmp_path_factory.mktemp("baseline")
    (bench / "bin").mkdir()
    program(bench, "fer-bench", REAL)
    (bench / "net.py").write_text(NETWORK)
    arguments = ("--baseline", "fer-bench.json", "--models", "net.py:build", "--accept", "first counts")
    done = gate(bench, surroundings(bench), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return (bench / "fer-bench.json").read_text()


@pytest.fixture
def real(bench, baseline):
    """A user's repository with a network and its baseline; `fer-bench` is this checkout's."""
    program(bench, "fer-bench", REAL)
    (bench / "work" / ".gitignore").write_text("__pycache__/\n")
    (bench / "work" / "fer-bench.json").write_text(baseline)
    commit(bench / "work", net_py=NETWORK)
    return bench


WIDER = NETWORK.replace("Conv2d(3, 4, 3)", "Conv2d(3, 8, 3)").replace("Linear(4,", "Linear(8,")
BASELINE = {"baseline": "fer-bench.json", "models": "net.py:build", "junit": "junit.xml", "comment-file": "gate.md"}


@pytest.mark.parametrize(("network", "code", "verdict"), [(NETWORK, 0, "passed"), (WIDER, 1, "worse")])
def test_the_action_judges_a_change(real, network, code, verdict):
    (real / "work" / "net.py").write_text(network)
    done = github(real, GATE, BASELINE)
    assert done.returncode == code, done.stdout + done.stderr
    assert outputs(real) == {"exit-code": str(code), "verdict": verdict}
    assert (real / "work" / "gate.md").read_text().startswith(f"## fer-bench gate: {verdict}\n")
    (case,) = ElementTree.parse(real / "work" / "junit.xml").iter("testcase")
    assert case.attrib["name"] == "net.py:build"
    assert (case.find("failure") is not None) == bool(code)


@pytest.mark.parametrize(("network", "code"), [(NETWORK, 0), (WIDER, 1)])
def test_the_job_on_gitlab_judges_a_change(real, network, code):
    (real / "work" / "net.py").write_text(network)
    inputs = {"against": "", "baseline": "fer-bench.json", "models": "net.py:build"}
    done = gitlab(real, inputs)
    assert done.returncode == code, done.stdout + done.stderr
    assert ElementTree.parse(real / "work" / "fer-bench-gate.xml").getroot().attrib["failures"] == str(code)


@pytest.mark.parametrize(("network", "code"), [(NETWORK, 0), (WIDER, 1)])
def test_the_hook_judges_a_commit(real, network, code):
    (real / "work" / "net.py").write_text(network)
    done = pre_commit(real, ("args", ["fer-bench.json", "--models", "net.py:build"]))
    assert done.returncode == code, done.stdout + done.stderr


def test_the_action_holds_a_pull_request_against_its_base(real):
    base = git(real / "work", "rev-parse", "HEAD")
    commit(real / "work", net_py=WIDER)
    inputs = {"against": base, "models": "net.py:build", "budget-s": "5", "comment-file": "gate.md"}
    done = github(real, GATE, inputs)
    assert done.returncode == 1, done.stdout + done.stderr
    told = (real / "github_step_summary").read_text()
    assert told.startswith("## fer-bench gate: worse\n")
    assert base[:7] in told
    assert "uncommitted" not in told  # the wrapper itself changes nothing


def test_a_shallow_clone_gets_its_remedy_and_is_no_pass(real):
    base = git(real / "work", "rev-parse", "HEAD")
    commit(real / "work", net_py=WIDER)
    (real / "work").rename(real / "origin")
    git(real, "clone", "--quiet", "--depth=1", f"file://{real / 'origin'}", "work")
    done = github(real, GATE, {"against": base, "models": "net.py:build"})
    assert done.returncode == 3
    assert "fetch-depth: 0" in done.stderr
    assert outputs(real)["verdict"] == "error"
    assert "exit code 3" in (real / "github_step_summary").read_text()


def test_each_option_that_a_wrapper_passes_is_one_of_the_gates(fer_bench):
    shown = fer_bench("gate", "--help").stdout
    passed = re.findall(r"--([a-z][a-z-]+)=?\b", GATE["run"] + "\n".join(JOB["script"]))
    assert {f"--{name}" for name in passed} <= set(re.findall(r"--[a-z][a-z-]+", shown))
    assert {f"--{name}" for name in OPTIONS} <= {f"--{name}" for name in passed}
