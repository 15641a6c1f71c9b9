"""Groups records that belong together, assigns the groups to splits, and checks that nothing leaks."""
