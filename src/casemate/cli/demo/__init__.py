"""`casemate demo`: the whole way, once, on real data."""
