"""Methods: what becomes of responses before training; a module a method, from records to training examples."""
