package lib.quantities

# The amount of a Kubernetes quantity, text or number, so that notations of one amount compare equal. Undefined if it is
# none, or one below a thousandth, which the API server rounds up.
amount(quantity) = value {
  value := to_number(quantity)
} else = value {
  value := units.parse(quantity)
}
