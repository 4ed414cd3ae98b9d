"""Numbers of the shape of chains that no training changes; they know neither data sets nor networks."""
