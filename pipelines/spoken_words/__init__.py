"""Spoken command words, by synthesised voices: a keyword spotter."""
