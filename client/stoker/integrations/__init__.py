"""Other people's libraries on Stoker: each module needs the library that it is named after, and nothing else does."""
