"""The examination of this machine and installation, each finding with its remedy."""
