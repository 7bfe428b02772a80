package print_mutations_annotations

import data.lib.pod

violation[{"msg": msg}] {
  msg := input.parameters.messages[name]
  is_string(pod.annotation(name))
}
