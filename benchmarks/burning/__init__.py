"""How burners are watched, and who else burns."""
