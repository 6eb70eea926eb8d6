"""Whether a tweet or a sentence of a review is positive or negative."""
