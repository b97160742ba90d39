"""Sources: foreign feeds translated into canonical events. Pure: lines in, events and refused lines out."""
