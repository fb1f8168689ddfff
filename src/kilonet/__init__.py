"""kilonet: a workbench for image classifiers of a few thousand parameters."""
