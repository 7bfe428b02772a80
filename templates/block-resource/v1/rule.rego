package block_resource

import data.lib.request

violation[{"msg": msg}] {
  object := request.object
  msg := sprintf("%v %v must not be created: this kind of object is blocked.", [object.kind, request.name])
}
