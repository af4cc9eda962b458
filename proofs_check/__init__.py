"""Proofs of the claims: exact certificates derived from the definitions, every hypothesis dropped and refuted."""
