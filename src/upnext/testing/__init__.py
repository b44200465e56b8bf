"""Contract suites that ship with the package: an implementation of your own proves itself by subclassing one."""
