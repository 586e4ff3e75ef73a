"""What a study would do, found out before anything of it is trained (`hpo check`)."""
