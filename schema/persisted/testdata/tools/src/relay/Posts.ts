import { graphql } from "react-relay";

export const fragment = graphql`
  fragment Posts_author on User {
    name
  }
`;

export const query = graphql`
  query PostsQuery($first: Int = 5) {
    posts(first: $first) {
      title
      author {
        ...Posts_author
      }
    }
  }
`;

export const rename = graphql`
  mutation PostsRenameMutation($id: ID!, $name: String!) {
    rename(id: $id, name: $name) {
      name
    }
  }
`;
