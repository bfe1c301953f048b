"""Data and schedules of the models that come with chimerac."""
