"""Who of nine people speaks, from recorded vowels: a recurrent network."""
