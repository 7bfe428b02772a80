package ingress_https_only

import data.lib.ingress
import data.lib.request

violation[{"msg": msg}] {
  ingress.lacks_for_https[lack]
  msg := sprintf("Ingress %v must have %v.", [request.name, lack])
}
