package container_resource_limits

import data.lib.containers
import data.lib.quantities

# What can be read as a limit. Exponents, and the suffixes n, u and K, cannot.
grammars = {
  "cpu": `^([0-9]+(\.[0-9]+)?|[0-9]*\.?[0-9]+m)$`,
  "memory": `^[0-9]+(\.[0-9]+)?([mkMGTPE]|[KMGTPE]i)?$`,
}

judged = [container |
  container := containers.without_ephemeral[_]
  not containers.excluded(container)
]

violation[{"msg": msg}] {
  container := judged[_]
  not container.resources.limits
  msg := sprintf("container <%v> has no resource limits", [container.name])
}

violation[{"msg": msg}] {
  container := judged[_]
  container.resources.limits
  grammars[resource]
  fault := fault_of(resource, object.get(container, ["resources", "limits", resource], ""))
  msg := sprintf("container <%v> %v", [container.name, fault])
}

fault_of(resource, "") = sprintf("has no %v limit", [resource])

fault_of(resource, limit) = sprintf("%v limit <%v> could not be parsed", [resource, limit]) {
  limit != ""
  not readable(resource, limit)
}

fault_of(resource, limit) = fault {
  most := input.parameters[concat("", [resource, "Limit"])]
  readable(resource, limit)
  readable(resource, most)
  quantities.amount(limit) > quantities.amount(most)
  fault := sprintf("%v limit <%v> is higher than the maximum allowed of <%v>", [resource, limit, most])
}

readable(_, quantity) {
  is_number(quantity)
}

readable(resource, quantity) {
  regex.match(grammars[resource], quantity)
}
