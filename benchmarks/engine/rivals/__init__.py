"""The other ways to the same numbers, a file each: ``FORMS`` by workload and name, each a problem's call."""
