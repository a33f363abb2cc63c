"""Casemate: from training data to production behind walls."""
