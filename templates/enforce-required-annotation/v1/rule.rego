package enforce_required_annotation

import data.lib.request

violation[{"msg": msg, "details": {"missing_annotations": missing}}] {
  request.object
  missing := {key | key := input.parameters.annotations[_].key} - {key | request.object.metadata.annotations[key]}
  count(missing) > 0
  msg := sprintf("you must provide annotation(s): %v", [missing])
}

violation[{"msg": msg}] {
  required := input.parameters.annotations[_]
  expression := required.allowedRegex
  value := request.object.metadata.annotations[required.key]
  not regex.match(expression, value)
  msg := sprintf("Annotation <%v: %v> does not satisfy allowed regex: %v", [required.key, value, expression])
}
