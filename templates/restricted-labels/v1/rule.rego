package restricted_labels

import data.lib.request
import data.lib.requester

violation[{"msg": msg}] {
  requester.writes
  requester.restricted
  place := places[_]
  labels := object.get(request.object, place.path, {})
  value := labels[label]
  restricted(label)
  not object.get(requester.before, array.concat(place.path, [label]), null) == value
  msg := sprintf("User %v must not set the label %v of %v.", [input.review.userInfo.username, label, place.named])
}

places = [
  {"named": "the object", "path": ["metadata", "labels"]},
  {"named": "the pods of the object", "path": ["spec", "template", "metadata", "labels"]},
]

# An entry is a whole label, or what stands before its slash.
restricted(label) {
  entry := input.parameters.labels[_]
  {label, split(label, "/")[0], concat("", [split(label, "/")[0], "/"])}[entry]
}

restricted(label) {
  entry := input.parameters.labels[_]
  endswith(entry, "*")
  startswith(label, trim_suffix(entry, "*"))
}
