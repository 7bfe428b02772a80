package restricted_node_edits

import data.lib.request
import data.lib.requester

violation[{"msg": msg}] {
  input.review.operation == "UPDATE"
  requester.restricted
  edited := sort([place | places[place]; not same[place]])
  count(edited) > 0
  msg := sprintf("User %v must not edit %v of node %v: change its node pool.", [input.review.userInfo.username, concat(" and ", edited), request.name])
}

# What a node pool decides; the rest of a node is the business of the kubelet.
places = {"annotations": ["metadata", "annotations"], "labels": ["metadata", "labels"], "spec": ["spec"]}

same[place] {
  path := places[place]
  part(requester.before, path) == part(request.object, path)
}

# Null and absent are an empty mapping.
part(node, path) = value {
  value := object.get(node, path, {})
  value != null
} else = {}
