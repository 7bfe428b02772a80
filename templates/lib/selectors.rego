package lib.selectors

# Whether a label selector selects what has these labels; an empty one selects everything.
matches(selector, labels) {
  unmet := [key | value := selector.matchLabels[key]; not labels[key] == value]
  count(unmet) == 0
  failed := [expression | expression := selector.matchExpressions[_]; not holds(expression, labels)]
  count(failed) == 0
}

holds(expression, labels) {
  expression.operator == "In"
  labels[expression.key] == expression.values[_]
}

holds(expression, labels) {
  expression.operator == "NotIn"
  not among(labels[expression.key], expression.values)
}

# A label that is not there is in no list.
holds(expression, labels) {
  {"NotIn", "DoesNotExist"}[expression.operator]
  not has(labels, expression.key)
}

holds(expression, labels) {
  expression.operator == "Exists"
  has(labels, expression.key)
}

has(labels, key) {
  labels[key] == labels[key]
}

among(value, values) {
  value == values[_]
}
