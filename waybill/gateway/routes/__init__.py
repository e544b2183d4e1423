"""One module a resource: the paths, their parameters and their answers."""
