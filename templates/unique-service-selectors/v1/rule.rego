package unique_service_selectors

import data.lib.request

violation[{"msg": msg}] {
  input.review.kind.kind == "Service"
  input.review.kind.group == ""
  selector := request.object.spec.selector
  selector != {}
  other := data.inventory.namespace[request.namespace].v1.Service[name]
  name != request.name
  other.spec.selector == selector
  sockets(other) & sockets(request.object) != set()
  msg := sprintf("same selector as service <%v> in namespace <%v> with overlapping ports.", [name, request.namespace])
}

sockets(service) = {[port.port, object.get(port, "protocol", "TCP")] | port := service.spec.ports[_]}
