"""Policies decide what an identity may do: by origins, by rules, by a function of the operator."""
