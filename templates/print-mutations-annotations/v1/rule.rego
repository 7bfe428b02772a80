package print_mutations_annotations

import data.lib.request

# Gatekeeper writes `Assign//set-image:1, ModifySet//add-tool:2`: kind, namespace, name and generation of each mutator.
violation[{"msg": msg}] {
  mutators := split(request.object.metadata.annotations["gatekeeper.sh/mutations"], ",")
  place := split(mutators[_], "/")
  name := split(place[minus(count(place), 1)], ":")[0]
  msg := object.get(input.parameters.messages, name, sprintf("resource was mutated by %v mutation", [name]))
}
