package pod_enforce_labels

import data.lib.pod

violation[{"msg": msg}] {
  pod.template
  label := input.parameters.labels[_]
  not labelled(label)
  msg := sprintf("The pod must have the label %v.", [label])
}

# Any value will do, an empty one too.
labelled(label) {
  is_string(pod.template.metadata.labels[label])
}
