package lib.request

# The object under review, by a request or an audit. A request to delete has none: what leaves breaks no rule.
object = value {
  value := input.review.object
  not input.review.operation == "DELETE"
}
