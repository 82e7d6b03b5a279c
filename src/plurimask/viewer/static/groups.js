// The samples of a case in the order in which they are shown.

/** Groups of samples that are alike, the largest first; in each the largest sample first: [{members, share, text}]. */
export function groupsOf({ groups, sizes }) {
  return groups.map((group) => ({ ...group, members: group.members.toSorted((a, b) => sizes[b] - sizes[a]) }));
}
