"""Reports: what is measured on networks and on other activity, written for people to read."""
