package lib.requester

# Whether allowedUsers or allowedGroups names who asks. An audit asks for nobody.
allowed {
  input.review.userInfo.username == input.parameters.allowedUsers[_]
}

allowed {
  input.review.userInfo.groups[_] == input.parameters.allowedGroups[_]
}
