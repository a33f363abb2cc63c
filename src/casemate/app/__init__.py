"""The composition root: builds every part with keyword arguments, in this process or in those of `casemate up`."""
