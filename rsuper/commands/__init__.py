"""The verbs of ``rsuper``, in the order in which they are used; each only calls the library and says what came out."""
