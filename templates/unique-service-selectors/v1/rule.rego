package unique_service_selectors

import data.lib.request

violation[{"msg": msg}] {
  selector := selector_of(request.object)
  same := [name |
    other := data.inventory.namespace[request.namespace]["v1"].Service[name]
    not name == request.name
    selector_of(other) == selector
  ]
  count(same) > 0
  named := [request.name, concat(", ", sort(same)), request.namespace]
  msg := sprintf("Service %v must have a selector of its own: it is that of %v in namespace %v.", named)
}

# Kubernetes reads no selector of an ExternalName, and an empty one selects nothing.
selector_of(service) = selector {
  selector := service.spec.selector
  count(selector) > 0
  not service.spec.type == "ExternalName"
}
