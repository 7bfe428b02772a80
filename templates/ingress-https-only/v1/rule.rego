package ingress_https_only

import data.lib.ingress

violation[{"msg": msg}] {
  ingress.serves_http[msg]
}
