"""Sessions of bundles from Python, one file for each way to run one."""
