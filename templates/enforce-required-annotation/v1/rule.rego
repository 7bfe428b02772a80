package enforce_required_annotation

import data.lib.request

violation[{"msg": msg}] {
  required := input.parameters.annotations[_]
  not fits(required)
  msg := sprintf("%v %v must have the annotation %v with a value that matches %v; it has %v.", [
    request.object.kind, request.name,
    required.key, required.allowedRegex, written(required.key),
  ])
}

fits(required) {
  regex.match(required.allowedRegex, request.object.metadata.annotations[required.key])
}

written(key) = value {
  value := request.object.metadata.annotations[key]
  value != null
} else = "none"
