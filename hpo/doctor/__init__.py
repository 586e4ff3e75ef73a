"""What of this machine and installation works, each finding with its remedy."""
