"""What an identity may do: origins, rules and a function of the operator."""
