"""What a network is and how it is made; not how it is measured."""
