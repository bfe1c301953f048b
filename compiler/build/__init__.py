"""One build as a function, the order of its passes, its times, its workspace and its self-test."""
