package lib.request

# The object under review, by a request or an audit. A request to delete has none: what leaves breaks no rule.
object = value {
  value := input.review.object
  not input.review.operation == "DELETE"
}

# Audits and gator fill it from the object; none at all means default (API reference).
namespace = value {
  value := input.review.namespace
} else = "default"

# What messages call the object: a new one may have only the start of a name.
name = value {
  value := object.metadata.name
} else = value {
  value := object.metadata.generateName
} else = ""
