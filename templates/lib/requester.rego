package lib.requester

import data.lib.request

# Whether a request comes from somebody that neither allowedUsers nor allowedGroups names. An audit has no requester.
restricted {
  user := input.review.userInfo
  user.username != ""
  not allowed(user)
}

allowed(user) {
  user.username == input.parameters.allowedUsers[_]
}

allowed(user) {
  user.groups[_] == input.parameters.allowedGroups[_]
}

# What the request changes: the object as it was, empty for a new one.
default before = {}

before = value {
  value := input.review.oldObject
  value != null
}

# Whether the request makes or changes an object, as against an audit or a request to delete.
writes {
  request.object
  {"CREATE", "UPDATE"}[input.review.operation]
}
