"""Names of forms, which the command line lists without importing what reads and writes them."""

# What is read.
FORMS = (
    "fer2013-csv",
    "ferplus",
    "ferplus-label",
    "affectnet-csv",
    "affectnet-npy",
    "rafdb",
    "kdef",
    "ckplus",
    "jaffe",
    "labels-csv",
    "folder",
)
RULES = ("majority", "probability", "crossentropy", "multi_target", "argmax")  # of FER+
MADE = ("fer2013", "icml", "folder", "ferplus", "rafdb", "kdef")  # what make_faces writes
