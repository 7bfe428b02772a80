package pod_enforce_labels

import data.lib.request

violation[{"msg": msg, "details": {"missing_labels": missing}}] {
  request.object
  missing := {label | label := input.parameters.labels[_]} - {label | request.object.metadata.labels[label]}
  count(missing) > 0
  msg := sprintf("you must provide labels: %v", [missing])
}
