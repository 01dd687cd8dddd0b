"""Named loads: N processes each, held at an exact share of a core by their own CPU clock."""
