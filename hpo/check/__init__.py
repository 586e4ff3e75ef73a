"""A preview of a study, found out before anything of it is trained (`hpo check`)."""
