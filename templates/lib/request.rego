package lib.request

# The object under review, by a request or an audit. A request to delete has none: what leaves breaks no rule.
object = value {
  value := input.review.object
  not input.review.operation == "DELETE"
}

# A request names the namespace even where the object does not; none at all means default (API reference).
namespace = value {
  value := object.metadata.namespace
  not {null, ""}[value]
} else = value {
  value := input.review.namespace
} else = "default"

# What messages call the object: a new one may have only the start of a name.
name = value {
  value := object.metadata.name
} else = value {
  value := object.metadata.generateName
} else = ""
